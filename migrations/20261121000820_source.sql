-- An address has left an account when another one begins to use it, which may be long after somebody else took it; null: nobody did yet.
alter table account_source alter column left_at drop not null;
