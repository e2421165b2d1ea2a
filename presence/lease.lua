-- The head of every script that touches the lease of an incarnation. All keys are in one slot.
--   KEYS  nodes   sorted set: members (incarnation, node name) by their last renewal, in ms
--         lease   hash: 'condemned', reaper and until (whose it is to reap, for how long), a lane's last turn
--         topics  set: the index of the topics that the incarnation may have users in
--   ARGV  member, …
local nodes, lease, topics = KEYS[1], KEYS[2], KEYS[3]
local member = ARGV[1]
local day = 86400

-- Redis's clock, in ms.
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function ms(n) return string.format('%.0f', n) end

-- Lets a turn of a lane in, or returns why not. The dead, and turns that come too late, stay out.
local function refused(lane, turn)
  local last = redis.call('HMGET', lease, 'condemned', 'turn' .. lane)
  if last[1] then
    return redis.error_reply('CONDEMNED this incarnation was not renewed in time')
  elseif last[2] and tonumber(last[2]) > tonumber(turn) then
    return redis.error_reply('STALE turn ' .. last[2] .. ' was here before turn ' .. turn)
  end
  redis.call('HSET', lease, 'turn' .. lane, turn)
end
