-- What every script begins with: a topic's position, behind a fence.
--
-- Replication is asynchronous, so a server that takes over may lack the newest
-- messages and would hand their offsets out again. No (epoch, offset) may name two
-- messages: so each position remembers in whose history it was written, and where
-- the history is another one, a new epoch begins at the offset that survived.

-- history returns the id of this server's history: its master_replid, which Redis
-- changes whenever a server starts as a master or becomes one. INFO is slow, so the
-- answer is kept for 100 ms under a key that is not replicated. A replica that takes all
-- data over gets it even so, and may be a master before it has expired: so the answer counts only
-- in the process that gave it, which is told by where in its memory a function is.
local function history(cache)
  local here = ' ' .. tostring(redis.call)
  local kept = redis.call('GET', cache)
  if kept and string.sub(kept, -#here) == here then
    return string.sub(kept, 1, -#here - 1)
  end
  local info = redis.call('INFO', 'replication')
  if not string.find(info, 'role:master', 1, true) then
    return nil, redis.error_reply('READONLY this server is a replica')
  end
  local id = string.sub(string.match(info, 'master_replid:(%w+)') or '', 1, 20)
  redis.set_repl(redis.REPL_NONE)
  redis.pcall('SET', cache, id .. here, 'PX', 100) -- may be refused for want of memory
  redis.set_repl(redis.REPL_ALL)
  return id
end

-- position returns the epoch, the head, the previous epoch and its head of a topic, and
-- when a publish last extended its life. A topic without a position starts in the epoch
-- fresh, and loses what is left of its log. life is how many seconds it is kept.
local function position(id, meta, log, fresh, life)
  local m = redis.call('HMGET', meta, 'epoch', 'offset', 'history', 'epoch0', 'offset0', 'extended')
  if not m[1] then
    redis.call('HSET', meta, 'epoch', fresh, 'offset', '0', 'history', id)
    redis.call('EXPIRE', meta, life)
    redis.call('DEL', log)
    return fresh, '0', '', '0', '0'
  end
  if m[3] ~= id then
    redis.call('HSET', meta, 'epoch', fresh, 'history', id, 'epoch0', m[1], 'offset0', m[2])
    m[1], m[4], m[5] = fresh, m[1], m[2]
  end
  return m[1], m[2], m[4] or '', m[5] or '0', m[6] or '0'
end

-- extend makes sure that half of a position's life is still to come.
local function extend(meta, life)
  if redis.call('TTL', meta) * 2 < tonumber(life) then
    redis.call('EXPIRE', meta, life)
  end
end
