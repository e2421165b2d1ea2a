-- Marks a suspect as dead and claims to reap it: verdict, topics to reap.
-- ARGV member, stamp of the renewal by which it is suspected, reaper, ms the claim lasts, at most, topic reaped …
local stamp = redis.call('ZSCORE', nodes, member)
if not stamp then return { 'spared' } end
if redis.call('HEXISTS', lease, 'condemned') == 0 then
  if stamp ~= ARGV[2] then return { 'spared' } end
  redis.call('HSET', lease, 'condemned', 1)
end
local claim, time = redis.call('HMGET', lease, 'reaper', 'until'), now()
if claim[1] and claim[1] ~= ARGV[3] and tonumber(claim[2]) > time then return { 'spared' } end
for i = 6, #ARGV do redis.call('SREM', topics, ARGV[i]) end
local some = redis.call('SRANDMEMBER', topics, ARGV[5])
if #some > 0 then
  redis.call('HSET', lease, 'reaper', ARGV[3], 'until', ms(time + tonumber(ARGV[4])))
  return { 'condemned', unpack(some) }
end
redis.call('ZREM', nodes, member)
redis.call('EXPIRE', lease, day) -- the mark outlives whatever the dead may still send
return { 'buried' }
