-- Moves a read offset forward.
--
-- KEYS  1 the topic's marks: user -> "epoch:offset:previous epoch"
-- ARGV  1 user  2 epoch  3 offset  4 life of the marks, s
-- Returns {the read offset that stands in the epoch, 1 if this call moved it}.

local mark = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local epoch, offset, previous = string.match(mark, '^([^:]*):(%d+):([^:]*)$')

local stands = '0'
if epoch == ARGV[2] then
  stands = offset
elseif previous == ARGV[2] then -- from a node that has not heard of the new epoch
  return {'0', 0}
else
  previous = epoch or ''
end
if tonumber(ARGV[3]) <= tonumber(stands) then
  return {stands, 0}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. ARGV[3] .. ':' .. previous)
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {ARGV[3], 1}
