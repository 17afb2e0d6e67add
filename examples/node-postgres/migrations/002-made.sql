alter table note add column made timestamptz not null default now();
