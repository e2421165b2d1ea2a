-- Advances a timer that has fired.
--
-- KEYS  1 what  2 state  3 due  4 ids  5 last count under this id  (see addtimer.lua)
-- ARGV  1 id  2 count that it had when it fired  3 life of the note of its last count, ms

local count, at, every = string.match(redis.call('HGET', KEYS[2], ARGV[1]) or '', '^(%d+) (-?%d+) (%d+)$')
if count ~= ARGV[2] then
  return redis.status_reply('OK')
end
if every == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('ZREM', KEYS[4], ARGV[1])
  redis.call('SET', KEYS[5], count, 'PX', ARGV[3])
  return redis.status_reply('OK')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local missed = math.max(math.floor((now - at) / every), 0)
at = string.format('%.0f', at + (missed + 1) * every)
redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f', count + 1) .. ' ' .. at .. ' ' .. every)
redis.call('ZADD', KEYS[3], at, ARGV[1])
return redis.status_reply('OK')
