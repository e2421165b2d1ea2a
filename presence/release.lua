-- Takes topics out of the index.  ARGV member, lane, turn, topic …
local no = refused(ARGV[2], ARGV[3])
if no then return no end
for i = 4, #ARGV do redis.call('SREM', topics, ARGV[i]) end
return 1
