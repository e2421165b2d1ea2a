-- Reads a page of the timers.
--
-- KEYS  1 what  2 state  3 ids  (see addtimer.lua)
-- ARGV  1 where to begin, as ZRANGE BYLEX has it  2 limit
-- Returns {id, what, state, …}, of up to one timer more than the limit.

local page = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[3], ARGV[1], '+', 'BYLEX', 'LIMIT', 0, ARGV[2] + 1)) do
  table.insert(page, id)
  table.insert(page, redis.call('HGET', KEYS[1], id) or '')
  table.insert(page, redis.call('HGET', KEYS[2], id) or '')
end
return page
