-- Reads a page of the index: cursor, topics.  ARGV member, lane, turn, cursor, about how many
local no = refused(ARGV[2], ARGV[3])
if no then return no end
return redis.call('SSCAN', topics, ARGV[4], 'COUNT', ARGV[5])
