create rule r as on insert to t do (select 1; select 2); select 3) ; e'a'
--b
'c\''