-- A workflow that heard of a chat and has not begun yet: one run, however many events. It waits while a run is open or the
-- workflow is paused.
create table workflow_wish (
    workflow   text not null,
    chat_id    bigint not null,
    event      text not null,                   -- the first of them
    created_at timestamptz not null default now(),
    primary key (workflow, chat_id)
);

-- When a chat's counts were last found complete: what was due by then has its point, or was missed.
create table count_mark (
    chat_id    bigint primary key,
    checked_at timestamptz not null
);
