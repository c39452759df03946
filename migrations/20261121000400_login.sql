-- Logins under way, by the label that the account will have.
create table account_login (
    label          text primary key,
    -- sealed (AEAD) JSON: the session so far, and what the login waits for
    state          bytea not null,
    state_key_id   text not null,
    at             timestamptz not null default now()
);
