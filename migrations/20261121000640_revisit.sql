-- After a jump without a difference the newest ids are read again at once; older ones, up to this id, slowly, block by block.
alter table coverage add column revisit_to bigint, add column revisited_at timestamptz;
