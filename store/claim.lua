-- Leases timers that are due.
--
-- KEYS  1 what  2 state  3 due  (see addtimer.lua)
-- ARGV  1 lease, ms  2 limit
-- Returns {ms until the earliest other timer is due, or '', id, what, state, …}.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- One more than may be claimed: the first that is not is the earliest other one, for what
-- is claimed here is put behind it.
local first = redis.call('ZRANGE', KEYS[3], 0, ARGV[2], 'WITHSCORES')
local answer = {''}
for i = 1, #first, 2 do
  local id, due = first[i], tonumber(first[i + 1])
  if due > now or i > 2 * ARGV[2] then
    answer[1] = string.format('%.0f', due - now)
    break
  end
  redis.call('ZADD', KEYS[3], now + ARGV[1], id)
  table.insert(answer, id)
  table.insert(answer, redis.call('HGET', KEYS[1], id) or '')
  table.insert(answer, redis.call('HGET', KEYS[2], id) or '')
end
return answer
