-- Reads the sanctions, unless the caller knows them. It writes nothing, so that
-- each node may ask each second.
--
-- KEYS  1 sanctions: member -> until, ms  2 their version
-- ARGV  1 known version
-- Returns {version, member, until, …}; {version} alone when it is known.

local version = redis.call('GET', KEYS[2]) or ''
if version == ARGV[1] then
  return {version}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'WITHSCORES')
table.insert(answer, 1, version)
return answer
