-- Lost: known once, and gone before its content was read.

-- Null unless nothing but a trace of the message is known: who knew of it. Content that arrives clears it.
alter table message add column lost_reason text;
