-- a; b
select E'it\'s; x' 'y', U&'\0041', $x$ ; $x$, "a;""b" /* c /* d; */ */;
create or replace function f(a int) returns int begin atomic select case when a=1 then 2 end; end;
begin; commit and chain; rollback to a;
