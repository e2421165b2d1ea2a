-- Adds topics to the index.  ARGV member, lane, turn, topic …
local no = refused(ARGV[2], ARGV[3])
if no then return no end
if not redis.call('ZSCORE', nodes, member) then
  return redis.error_reply('NOLEASE this incarnation was never renewed')
end
for i = 4, #ARGV do redis.call('SADD', topics, ARGV[i]) end
return 1
