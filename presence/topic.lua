-- The head of every script that touches the roster of a topic. All keys, and the live
-- channel, are in one slot.
--   KEYS  roster  hash: epoch, version, run (the history that they were written in)
--         online  hash: user -> number of incarnations that have the user
--         mine    set: the users that the incarnation has
--         fence   string: the incarnation's last turn in this partition, or 'dead'
--         journal stream: the partition's changes that nobody has told outside yet, under their roster's key
--         lost    string: how many of them the journal could not keep. Both only where it keeps any.
--   ARGV  epoch (in case a new one begins), live channel, prefix of a payload, how many changes the journal keeps, …
local roster, online, mine, fence, journal, lost = unpack(KEYS)
local day = 86400

-- Lets a turn in, or returns why not. The dead stay out, and turns that come too late,
-- and an incarnation without a trace here, unless it comes to leave one.
local function refused(turn, comes)
  local last = redis.call('GET', fence)
  if last == 'dead' then
    return redis.error_reply('CONDEMNED this incarnation was reaped')
  elseif last and tonumber(last) > tonumber(turn) then
    return redis.error_reply('STALE turn ' .. last .. ' was here before turn ' .. turn)
  elseif not last and not comes then
    return redis.error_reply('LOST this incarnation is not known here')
  end
  redis.call('SET', fence, turn, 'EX', day)
end

-- Takes users, already out of 'mine', from the roster; returns the names that left.
local function depart(users)
  local names = {}
  for _, user in ipairs(users) do
    if redis.call('HINCRBY', online, user, -1) <= 0 then
      redis.call('HDEL', online, user)
      names[#names + 1] = ' -' .. user
    end
  end
  return names
end

-- Ends every script: what changed becomes the next version, and is told to all. When
-- another Redis than this one wrote the last version, it may have written versions that
-- this one lost: a new epoch begins, and is told even if nothing changed.
local function publish(names)
  local last = redis.call('HMGET', roster, 'epoch', 'version', 'run')
  local run = history()
  if last[3] == run then
    if #names == 0 then return end
  else
    if #names == 0 and not last[1] then return end
    last[1], last[2] = ARGV[1], '0'
  end
  local version = string.format('%.0f', tonumber(last[2]) + 1)
  redis.call('HSET', roster, 'epoch', last[1], 'version', version, 'run', run)
  local count = redis.call('HLEN', online)
  if count == 0 then
    redis.call('EXPIRE', roster, day)
  else
    redis.call('PERSIST', roster)
  end
  local change = 'p ' .. last[1] .. ' ' .. version .. ' ' .. count .. table.concat(names)
  if #names > 0 and ARGV[4] ~= '0' then
    redis.call('XADD', journal, '*', roster, change)
    redis.call('INCRBY', lost, redis.call('XTRIM', journal, 'MAXLEN', ARGV[4])) -- also by 0: then the key is there when the slot moves
    redis.call('EXPIRE', journal, 7 * day)
    redis.call('EXPIRE', lost, 7 * day)
  end
  redis.call('SPUBLISH', ARGV[2], ARGV[3] .. change)
end
