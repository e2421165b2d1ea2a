-- Takes sanctions back. It passes when Redis is out of memory: then the version is
-- taken out instead of changed, which tells everyone to read the sanctions again and again.
--
-- KEYS  1 sanctions: member -> until, ms  2 their version
-- ARGV  1 new version  2… members
-- Returns how many of them stood.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local lifted = redis.call('ZREM', KEYS[1], unpack(ARGV, 2))
if lifted > 0 and redis.pcall('SET', KEYS[2], ARGV[1]).err then
  redis.call('DEL', KEYS[2])
end
return lifted
