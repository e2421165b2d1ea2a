-- Imposes a sanction. ZADD is first: without memory Redis refuses a script's first write,
-- but none after one that passed.
--
-- KEYS  1 sanctions: member -> until, ms  2 their version
-- ARGV  1 member  2 until, ms, or +inf  3 new version

redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('SET', KEYS[2], ARGV[3])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return redis.status_reply('OK')
