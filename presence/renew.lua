-- Renews a lease: whether there was one, the history of this Redis, members whose lease lapsed and when they were renewed.
-- ARGV member, ms after which a lease lapses
if redis.call('HEXISTS', lease, 'condemned') == 1 then
  return redis.error_reply('CONDEMNED this incarnation was not renewed in time')
end
local known = redis.call('ZSCORE', nodes, member) and 1 or 0
local time, lasts = now(), tonumber(ARGV[2])
redis.call('ZADD', nodes, ms(time), member)
-- A renewal from the future is as good as none: the clock was set back, and whoever lives renews now.
local lapsed = redis.call('ZRANGEBYSCORE', nodes, '-inf', ms(time - lasts), 'WITHSCORES', 'LIMIT', 0, 100)
local ahead = redis.call('ZRANGEBYSCORE', nodes, ms(time + lasts), '+inf', 'WITHSCORES', 'LIMIT', 0, 100)
for _, v in ipairs(ahead) do lapsed[#lapsed + 1] = v end
return { known, history(), lapsed }
