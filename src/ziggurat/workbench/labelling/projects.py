"""Projects and their versions. New questions after answers exist make a new version; answers keep theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from sqlalchemy import Connection, func, insert, select, update

from ziggurat.errors import did_you_mean
from ziggurat.product.common import clean, clean_json, clean_name, known, record
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.labelled import remove_projects
from ziggurat.product.principal import Principal
from ziggurat.product.rights import can, require
from ziggurat.store.clock import iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import answers, members, project_versions, projects
from ziggurat.workbench.labelling import templates
from ziggurat.workbench.labelling.guidelines import add_version as add_guideline
from ziggurat.workbench.labelling.objects import QUESTIONS, TASKS, Project, ProjectSettings
from ziggurat.workbench.labelling.progress import of_person
from ziggurat.workbench.labelling.rows import DEFAULTS, project_row, project_view, version_row

CHANGEABLE = ("name", "description", "status", "settings", "questions")
STATUSES = ("open", "paused", "closed", "archived")


def create_project(
    store: Store,
    principal: Principal,
    *,
    name: str,
    task: str,
    description: str = "",
    questions: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    template: str | None = None,
) -> Project:
    """A new, open project. A template gives its task, questions and guidelines; what is given here comes before it.

    Raises:
        Invalid: an unknown task, question or setting.
    """
    require(principal, "project.write")
    base = templates.template(template) if template else None
    task = base.task if base else task
    if task not in TASKS:
        raise Invalid(f'there is no task "{task}".{did_you_mean(task, TASKS)}', param="task")
    asked = checked_questions(task, questions if questions is not None else base.questions if base else {})
    chosen = checked_settings({**(base.settings if base else {}), **(settings or {})})
    with store.write() as conn:
        now = store.now()
        row: dict[str, Any] = {
            "id": new_id("project"),
            "workspace_id": principal.workspace_id,
            "name": clean_name(name),
            "description": clean(description, "description", limit=4_000, empty=True),
            "status": "open",
            "task": task,
            "settings": chosen,
            "version": 1,
            "guideline": 0,
            "created_by": principal.person_id,
            "updated_at": now,
            "created_at": now,
        }
        conn.execute(insert(projects).values(row))
        _add_version(conn, store, principal, row["id"], 1, asked)
        if base and base.guidelines:
            add_guideline(
                conn, store, principal, row["id"], 1, texts=base.guidelines, note="", acknowledge=False
            )
        detail = {"task": task, "template": template}
        record(
            conn, store, principal, "project.create", kind="label_project", object_id=row["id"], detail=detail
        )
        return _view(conn, principal, row["id"])


def list_projects(store: Store, principal: Principal, *, archived: bool = False) -> list[Project]:
    """All of the workspace, for a lead, the newest first; those in the archive only on request."""
    require(principal, "project.read")
    wanted = select(projects).where(projects.c.workspace_id == principal.workspace_id)
    wanted = wanted.where((projects.c.status == "archived") == archived)
    with store.read() as conn:
        rows = conn.execute(wanted.order_by(projects.c.id.desc())).all()
        return [project_view(row, version_row(conn, row.id, row.version).questions) for row in rows]


def get_project(store: Store, principal: Principal, project_id: str) -> Project:
    """One, for a lead."""
    with store.read() as conn:
        return _view(conn, principal, project_id)


def change_project(
    store: Store, principal: Principal, project_id: str, changes: Mapping[str, Any]
) -> Project:
    """Change name, description, status, some settings, or the questions. New questions replace the present version
    while it has no answers, and make a new one afterwards.

    Raises:
        Invalid: an unknown field, or a value that is not allowed.
    """
    given = known(changes, CHANGEABLE)
    with store.write() as conn:
        row = project_row(conn, principal, project_id, "project.write")
        values: dict[str, Any] = {"updated_at": store.now()}
        if "name" in given:
            values["name"] = clean_name(given["name"])
        if "description" in given:
            values["description"] = clean(given["description"], "description", limit=4_000, empty=True)
        if "status" in given:
            if given["status"] not in STATUSES:
                raise Invalid(
                    f"status is {given['status']!r}; it must be one of {', '.join(STATUSES)}.", param="status"
                )
            values["status"] = given["status"]
        if "settings" in given:
            values["settings"] = checked_settings({**row.settings, **dict(given["settings"])})
        if "questions" in given:
            values["version"] = _new_questions(conn, store, principal, row, given["questions"])
        conn.execute(update(projects).where(projects.c.id == project_id).values(values))
        record(
            conn,
            store,
            principal,
            "project.change",
            kind="label_project",
            object_id=project_id,
            detail={"fields": sorted(given), "version": values.get("version", row.version)},
        )
        return _view(conn, principal, project_id)


def versions(store: Store, principal: Principal, project_id: str) -> list[dict[str, Any]]:
    """All versions of the questions, the newest first, each with the number of its answers."""
    with store.read() as conn:
        project_row(conn, principal, project_id)
        count = (
            select(func.count())
            .where(answers.c.version_id == project_versions.c.id, answers.c.status == "submitted")
            .scalar_subquery()
        )
        rows = conn.execute(
            select(project_versions, count.label("answers"))
            .where(project_versions.c.project_id == project_id)
            .order_by(project_versions.c.n.desc())
        )
        return [
            {
                "n": row.n,
                "questions": row.questions,
                "answers": row.answers,
                "created_at": iso(row.created_at),
            }
            for row in rows
        ]


def _view(conn: Connection, principal: Principal, project_id: str) -> Project:
    row = project_row(conn, principal, project_id)
    return project_view(row, version_row(conn, row.id, row.version).questions)


def _new_questions(conn: Connection, store: Store, principal: Principal, project: Any, questions: Any) -> int:
    asked = checked_questions(project.task, questions)
    present = version_row(conn, project.id, project.version)
    if asked == present.questions:
        return int(project.version)
    if conn.execute(select(answers.c.id).where(answers.c.version_id == present.id).limit(1)).first() is None:
        conn.execute(
            update(project_versions).where(project_versions.c.id == present.id).values(questions=asked)
        )
        return int(project.version)
    _add_version(conn, store, principal, project.id, project.version + 1, asked)
    return int(project.version) + 1


def _add_version(
    conn: Connection, store: Store, principal: Principal, project_id: str, n: int, questions: dict[str, Any]
) -> None:
    row = {
        "id": new_id("pversion"),
        "workspace_id": principal.workspace_id,
        "project_id": project_id,
        "n": n,
        "questions": questions,
        "created_by": principal.person_id,
        "created_at": store.now(),
    }
    conn.execute(insert(project_versions).values(row))


def checked_questions(task: str, questions: Any) -> dict[str, Any]:
    """The questions of a task, with their defaults.

    Raises:
        Invalid: a field is missing, unknown or wrong.
    """
    return _checked(QUESTIONS[task], questions, "questions")


def checked_settings(settings: Any) -> dict[str, Any]:
    """Those that differ from the default.

    Raises:
        Invalid: an unknown one, or one out of range.
    """
    found = _checked(ProjectSettings, settings, "settings")
    return {name: value for name, value in found.items() if value != DEFAULTS[name]}


def _checked(model: type[BaseModel], values: Any, what: str) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise Invalid(f"{what} must be a JSON object.", param=what)
    try:
        return model.model_validate(clean_json(values)).model_dump(mode="json")
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join([what, *(str(part) for part in problem["loc"])])
        hint = (
            did_you_mean(str(problem["loc"][-1]), model.model_fields)
            if problem["type"] == "extra_forbidden"
            else ""
        )
        raise Invalid(f"{where}: {problem['msg']}.{hint}", param=where) from None


def delete_project(store: Store, principal: Principal, project_id: str) -> None:
    """A project with its items and answers; their judgements too. Only what is archived can be deleted.

    Raises:
        Conflict: it is not archived.
    """
    with store.write() as conn:
        row = project_row(conn, principal, project_id, "project.write")
        if row.status != "archived":
            raise Conflict("archive the project first; then it can be deleted.", code="not_archived")
        remove_projects(conn, store, principal.workspace_id, [project_id])
        record(conn, store, principal, "project.delete", kind="label_project", object_id=project_id)


def mine(store: Store, principal: Principal) -> list[dict[str, Any]]:
    """The projects in which the person may work, each with what is open and what the person has done."""
    require(principal, "label")
    wanted = select(projects).where(
        projects.c.workspace_id == principal.workspace_id, projects.c.status.in_(("open", "paused"))
    )
    with store.read() as conn:
        joined = {
            row.project_id: row
            for row in conn.execute(select(members).where(members.c.person_id == principal.person_id))
        }
        found = []
        for row in conn.execute(wanted.order_by(projects.c.id.desc())).all():
            chosen = DEFAULTS | row.settings
            if chosen["open_to"] == "members" and row.id not in joined and not can(principal, "project.read"):
                continue
            member = joined.get(row.id)
            found.append(
                {
                    "id": row.id,
                    "name": row.name,
                    "description": row.description,
                    "status": row.status,
                    "task": row.task,
                    "state": member.state if member else None,
                    "langs": chosen["langs"],
                    **of_person(conn, principal.person_id, row.id),
                }
            )
        return found
