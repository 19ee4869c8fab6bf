"""Where releases serve, a fine-tuned model is served after a gate that it passed and a person signed, elsewhere now."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, update

from ziggurat.flywheel.tuning import served
from ziggurat.flywheel.turn.turns import weights_of
from ziggurat.home import portable
from ziggurat.places import runs_home
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.programs import tunings as tuning_rows
from ziggurat.store.tables.releases import channels, gates, releases, signatures
from ziggurat.store.tables.workspace import workspaces


@pytest.mark.usefixtures("ziggurat_home")
def test_a_tuned_model_passes_a_gate_where_releases_serve(quick_store: Store, ana: Principal) -> None:
    run = runs_home() / "fine-tuned" / "1"
    (run / "model").mkdir(parents=True)
    (run / "model" / "config.json").write_text("{}")
    (run / "model" / "model.safetensors").write_bytes(b"weights")
    here = {"workspace_id": ana.workspace_id, "created_at": 1}
    job = {
        "id": "ftjob-1",
        "person_id": ana.person_id,
        "model": "m",
        "method": "supervised",
        "run": "fine-tuned/1",
    }
    job |= {
        "hyperparameters": {},
        "training_file": "file-1",
        "seed": 1,
        "metadata": {},
        "status": "succeeded",
    }
    release = {
        "id": "release_1",
        "name": "assistant-1",
        "model": "m",
        "weights": "w",
        "files": "f",
        "datasets": [],
    }
    channel = {
        "id": "channel_1",
        "workspace_id": ana.workspace_id,
        "name": "assistant",
        "release_id": "release_1",
    }
    with quick_store.write() as conn:
        conn.execute(insert(tuning_rows).values(**job, fine_tuned_model="ft:m:1", **here))
    assert served.models(quick_store) == [("ft:m:1", run)]

    with quick_store.write() as conn:
        conn.execute(insert(releases).values(**release, code="c", scores={}, note="", **here))
        conn.execute(insert(channels).values(**channel, canary_share=0.0, version=1, updated_at=1))
    assert served.models(quick_store) == []

    gate = {
        "id": "gate_1",
        "candidate": portable(run),
        "weights": weights_of(run),
        "policy": {},
        "state": "done",
    }
    with quick_store.write() as conn:
        conn.execute(insert(gates).values(**gate, verdict="undecided", **here))
    assert served.models(quick_store) == []
    with quick_store.write() as conn:
        conn.execute(update(gates).values(verdict="passed"))
    assert served.models(quick_store) == []
    said = {"id": "sig_1", "gate_id": "gate_1", "person_id": ana.person_id, "signed_as": "person", "note": ""}
    with quick_store.write() as conn:
        conn.execute(insert(signatures).values(**said, decision="refuse", **here))
    assert served.models(quick_store) == []
    with quick_store.write() as conn:
        conn.execute(update(signatures).values(decision="release"))
    assert served.models(quick_store) == [("ft:m:1", run)]

    with quick_store.write() as conn:
        conn.execute(update(gates).values(weights="those of another training at the same path"))
    assert served.models(quick_store) == []
    with quick_store.write() as conn:  # what another workspace signed says nothing here
        conn.execute(
            insert(workspaces).values(id="ws_2", name="Two", created_at=1, settings={}, rules_version=0)
        )
        conn.execute(update(gates).values(weights=weights_of(run), workspace_id="ws_2"))
    assert served.models(quick_store) == []
