-- Takes a timer out. Removing is first, so that it passes without memory (see lift.lua).
--
-- KEYS  1 what  2 state  3 due  4 ids  5 last count under this id  (see addtimer.lua)
-- ARGV  1 id  2 life of the note of its last count, ms
-- Returns 1 if there was one.

local count = string.match(redis.call('HGET', KEYS[2], ARGV[1]) or '', '^(%d+) ')
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
local was = redis.call('HDEL', KEYS[2], ARGV[1])
if count then
  redis.call('SET', KEYS[5], count, 'PX', ARGV[2])
end
return was
