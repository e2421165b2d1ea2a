-- Leaves a trace, and reads a page of the users that an incarnation has: cursor, users.  ARGV … turn, cursor, about how many
local no = refused(ARGV[5], true)
if no then return no end
publish({})
return redis.call('SSCAN', mine, ARGV[6], 'COUNT', ARGV[7])
