-- Stores a message under the topic's next offset, then sends it to who listens.
--
-- KEYS  1 the history's cache  2 the topic's position  3 its log  4 the publish's key
-- ARGV  1 live channel  2 this call's name, also the epoch if one begins  3 the body
--       4 length of the log  5 its age, ms 6 life of the position, s  7 life of the key, ms
-- Returns "<receivers> <offset> <epoch> <Unix ms> <name of the first call>".

local first = redis.call('GET', KEYS[4])
if first then
  return redis.call('PUBSUB', 'SHARDNUMSUB', ARGV[1])[2] .. ' ' .. first
end

local id, err = history(KEYS[1])
if err then return err end
local epoch, head, _, _, extended = position(id, KEYS[2], KEYS[3], ARGV[2], ARGV[6])
local offset = string.format('%.0f', tonumber(head) + 1)
local now = redis.call('TIME')
local time = now[1] .. string.sub(string.format('%06d', now[2]), 1, 3)
local record = time .. ' ' .. ARGV[3]

-- The log comes first: when Redis refuses to store, nothing else has happened.
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[4], offset .. '-0', 'm', record)

-- Life is extended a little too far, so that not every publish has to.
local slack = math.floor(ARGV[5] / 64)
if math.abs(time - extended) > math.min(slack, 3600000) then
  redis.call('HSET', KEYS[2], 'offset', offset, 'extended', time)
  redis.call('PEXPIRE', KEYS[3], ARGV[5] + slack)
  redis.call('EXPIRE', KEYS[2], ARGV[6])
else
  redis.call('HSET', KEYS[2], 'offset', offset)
end

local result = offset .. ' ' .. epoch .. ' ' .. time .. ' ' .. ARGV[2]
redis.call('SET', KEYS[4], result, 'PX', ARGV[7])
return redis.call('SPUBLISH', ARGV[1], 'm' .. epoch .. ' ' .. offset .. ' ' .. record) .. ' ' .. result
