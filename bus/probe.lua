-- Sends a probe to who listens, and tells how many do. It goes behind the same fence as a
-- publish: where this server could take none (a replica, one that loads its data), the probe fails.
--
-- KEYS  1 the history's cache    ARGV  1 the probe's channel
local _, err = history(KEYS[1])
if err then return err end
return redis.call('SPUBLISH', ARGV[1], '')
