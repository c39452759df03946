-- An address has left an account when another one begins to use it, which may be long after somebody else took it; null: nobody did yet.
alter table account_source alter column left_at drop not null;
-- Whoever held it last is taken to be using it.
insert into account_source (account_id, source)
select l.account_id, n.source from account_lease l join node n on n.id = l.node_id
on conflict (account_id, source) do update set left_at = null;
