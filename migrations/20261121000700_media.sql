-- Files: what Telegram tells of them, which messages carry them, what an account needs to address them, and whose photos they are.

create table media (
    id           bigint generated always as identity primary key,
    -- Telegram numbers photos and documents apart
    space        text not null check (space in ('photo', 'document')),
    file_id      bigint not null,
    type         text not null,
    -- fields of its type, as the index has them; `sizes` of a photo
    body         jsonb not null default '{}',
    content_hash bytea not null,
    revision     bigint not null default 1,
    size         bigint,                        -- bytes; of a photo: of its largest size
    mime_type    text,
    dc           int,                           -- where it lies; never indexed
    date         timestamptz,                   -- of its upload
    user_id      bigint,                        -- who sent the first message that carried it
    -- why metadata only, as all of its sources say; null as soon as one is neither
    restricted   text check (restricted in ('self_destructing', 'protected')),
    listed       int not null default 0,        -- how many of its sources the document names
    -- every message that carried it was deleted under a watch that erases: no document, until it is carried again
    erased       boolean not null default false,
    state        text not null default 'skipped' check (state in ('wanted', 'fetching', 'held', 'skipped', 'unavailable', 'stored')),
    state_reason text,
    state_at     timestamptz not null default now(),
    sha256       bytea,
    location     text,                          -- key in the store
    first_seen   timestamptz not null default now(),
    last_seen    timestamptz not null default now(),
    account_id   bigint,
    via          text not null,
    job          bigint,
    unique (space, file_id)
);

-- Every message that carries a file, or carried it before an edit. Deletion of the message changes nothing here.
create table media_source (
    media      bigint not null references media on delete cascade,
    box_id     bigint not null references box,
    message_id bigint not null,
    chat_id    bigint not null,
    -- the message's own word that it may not be saved; its chat's is in `chat`
    protected  boolean not null default false,
    -- self-destructing
    ttl        boolean not null default false,
    -- in which order they were learned of
    seq        bigint generated always as identity,
    primary key (media, box_id, message_id)
);
create index media_source_message on media_source (box_id, message_id);
create index media_source_chat on media_source (chat_id, media);
create index media_source_seq on media_source (media, seq);

-- What one account needs to address a file: belongs to that account alone, and is never indexed. The newest wins.
create table media_reference (
    media          bigint not null references media on delete cascade,
    account_id     bigint not null references account on delete cascade,
    access_hash    bigint not null,
    file_reference bytea not null,
    dc             int not null,
    -- the message that told it; null: a chat's or a user's photo
    box_id         bigint,
    message_id     bigint,
    told_at        timestamptz not null default now(),
    primary key (media, account_id)
);

-- Stored content whose file was erased: to be taken out of the store, unless another file lies there too.
create table media_removal (
    location text primary key,
    sha256   bytea not null,
    since    timestamptz not null default now()
);

-- Under which word of the chat on saving the restriction of its files was last considered.
alter table chat add column files_protected boolean not null default false;

-- The photos that chats (watched) and users (that have a row) had.
create table avatar (
    peer_id    bigint not null,                 -- marked form
    photo_id   bigint not null,                 -- media of space photo
    first_seen timestamptz not null default now(),
    last_seen  timestamptz not null default now(),
    primary key (peer_id, photo_id)
);
create index avatar_photo on avatar (photo_id);
