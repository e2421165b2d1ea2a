-- Adds a timer, or replaces it.
--
-- KEYS  1 what: id -> length of the topic ":" topic data  2 state: id -> "count at every", ms
--       3 due: id -> when it may be claimed, ms  4 ids, in byte order  5 last count under this id
-- ARGV  1 id  2 what  3 at, ms  4 every, ms, 0: once  5 count

local used = string.match(redis.call('HGET', KEYS[2], ARGV[1]) or '', '^(%d+) ') or redis.call('GET', KEYS[5])
local count = ARGV[5]
if used and tonumber(used) >= tonumber(count) then
  count = string.format('%.0f', used + 1)
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], count .. ' ' .. ARGV[3] .. ' ' .. ARGV[4])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
redis.call('ZADD', KEYS[4], 0, ARGV[1])
return redis.status_reply('OK')
