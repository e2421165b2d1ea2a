-- Stores messages under the next offsets of their topics, then sends them to who listens.
-- They come in groups: the messages of one caller for one topic.
--
-- KEYS  1 the history's cache, then for each group: the topic's position, its log, each message's key
-- ARGV  for each group: the number of its messages, live channel, the epoch if one begins,
--       length of the log, its age, ms, life of the position, s, and then for each message:
--       the call's name, the body, life of the key, ms
-- Returns for each group a list, of "<receivers> <offset> <epoch> <Unix ms> <name of the first call>" for
-- each message, or the text of the error that it met: that of one group is not another's.

local id, err = history(KEYS[1])
if err then return err end
local now = redis.call('TIME')
local time = now[1] .. string.sub(string.format('%06d', now[2]), 1, 3)
local k, a = 2, 1 -- where a group begins

local function publish()
  local meta, log = KEYS[k], KEYS[k + 1]
  local count, live, length, age, life = tonumber(ARGV[a]), ARGV[a + 1], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5]
  local epoch, head, _, _, extended = position(id, meta, log, ARGV[a + 2], life)
  local offset, answers, fresh, refused = tonumber(head), {}, {}, nil
  for i = 1, count do
    local key, at = KEYS[k + 1 + i], a + 3 + 3 * i
    local after = string.format('%.0f', offset + 1)
    local result = after .. ' ' .. epoch .. ' ' .. time .. ' ' .. ARGV[at]
    local first = redis.pcall('SET', key, result, 'NX', 'GET', 'PX', ARGV[at + 2])
    if type(first) == 'table' then -- what was stored before can be told even where nothing can be stored
      refused, first = first, redis.call('GET', key)
      if not first then break end
      refused = nil
    end
    if first then
      answers[i] = redis.call('PUBSUB', 'SHARDNUMSUB', live)[2] .. ' ' .. first
    else
      local record = time .. ' ' .. ARGV[at + 1]
      -- The log comes before all that others see: when Redis refuses to store, nothing else has happened.
      local stored = redis.pcall('XADD', log, 'MAXLEN', '~', length, after .. '-0', 'm', record)
      if type(stored) == 'table' then
        redis.call('DEL', key)
        refused = stored
        break
      end
      offset = offset + 1
      answers[i] = result
      fresh[i] = 'm' .. epoch .. ' ' .. after .. ' ' .. record
    end
  end

  if next(fresh) then
    -- Life is extended a little too far, so that not every publish has to.
    local slack = math.floor(age / 64)
    head = string.format('%.0f', offset)
    if math.abs(time - extended) > math.min(slack, 3600000) then
      redis.call('HSET', meta, 'offset', head, 'extended', time)
      redis.call('PEXPIRE', log, age + slack)
      redis.call('EXPIRE', meta, life)
    else
      redis.call('HSET', meta, 'offset', head)
    end
  end
  for i = 1, count do
    if fresh[i] then
      answers[i] = redis.call('SPUBLISH', live, fresh[i]) .. ' ' .. answers[i]
    end
  end
  return refused and refused.err or answers
end

local answers = {}
while a <= #ARGV do
  local ok, answer = pcall(publish)
  if not ok and type(answer) == 'table' then answer = answer.err end -- else it is its text alone
  answers[#answers + 1] = answer
  local count = tonumber(ARGV[a])
  k, a = k + 2 + count, a + 6 + 3 * count
end
return answers
