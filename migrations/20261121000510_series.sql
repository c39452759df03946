-- What accumulates beside messages: which documents must go with their rows, and the order keys of what is told apart from content.

-- The _id of a document that must be gone: its row went, so that nothing else tells it.
alter table outbox add column gone text;
alter table dead_letter add column gone text;

-- Deleted under a watch that erases: nothing of it is stored again.
alter table message add column erased boolean not null default false;
-- Fields of the body that were told apart from the content (counts): {field: pts or null}.
alter table message add column field_pts jsonb;
-- Lowest pts at which the row's text and media were seen, and highest at which others were: whether they stood before.
alter table message add column version_pts int;
alter table message add column other_pts int;

