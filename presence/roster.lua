-- Reads a page of the roster: epoch, version, online, cursor, users.  ARGV … cursor, at most
publish({})
local position = redis.call('HMGET', roster, 'epoch', 'version')
local count = redis.call('HLEN', online)
local cursor, users = '0', {}
if ARGV[5] == '0' and count <= tonumber(ARGV[6]) then
  users = redis.call('HKEYS', online)
else
  local page = redis.call('HSCAN', online, ARGV[5], 'COUNT', ARGV[6])
  cursor = page[1]
  for i = 1, #page[2], 2 do users[#users + 1] = page[2][i] end
end
return { position[1] or '', position[2] or '0', count, cursor, users }
