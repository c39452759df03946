-- Its authorisation key is spent (AUTH_KEY_DUPLICATED): a release is not enough, only a new login or import makes it active.
alter table account add column needs_login boolean not null default false;
-- How many chats an account reads is asked whenever a reader is chosen.
create index watch_reader on watch (reader_id);
