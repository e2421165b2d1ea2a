-- history is the id of this server's history: its master_replid, which Redis changes whenever a server starts
-- as a master or becomes one. (A run id is the same again where two servers change places, and back.)
local function history()
  return string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
end

