"""The workbench: labelling (`labelling/`) and expert review (`review/`): rules over the store; no HTTP, no torch."""
