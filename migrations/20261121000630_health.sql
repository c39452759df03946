-- Its authorisation key is spent (AUTH_KEY_DUPLICATED): a release is not enough, only a new login or import makes it active.
alter table account add column needs_login boolean not null default false;
