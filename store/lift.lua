-- Takes sanctions back. Removing is first, so that it passes without memory: there Redis
-- refuses a script's first write, but none after one that passed.
--
-- KEYS  1 sanctions: member -> until, ms  2 their version
-- ARGV  1 new version  2… members
-- Returns how many of them stood.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local lifted = redis.call('ZREM', KEYS[1], unpack(ARGV, 2))
if lifted > 0 then
  redis.call('SET', KEYS[2], ARGV[1])
end
return lifted
