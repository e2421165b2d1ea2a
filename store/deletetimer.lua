-- Takes a timer out. Out of memory, it does so without a note of its count.
--
-- KEYS  1 what  2 state  3 due  4 ids  5 last count under this id  (see addtimer.lua)
-- ARGV  1 id  2 life of the note, ms
-- Returns 1 if there was one.

local count = string.match(redis.call('HGET', KEYS[2], ARGV[1]) or '', '^(%d+) ')
if count then
  redis.pcall('SET', KEYS[5], count, 'PX', ARGV[2])
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
return redis.call('HDEL', KEYS[2], ARGV[1])
