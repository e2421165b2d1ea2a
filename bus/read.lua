-- Reads a part of a topic's log together with its position.
--
-- KEYS  1 the history's cache  2 the topic's position  3 its log
-- ARGV  1 the epoch if one begins  2 read after this offset  3 at most so many messages
--       4 and so many bytes, but at least one message  5 life of the position, s
-- Returns epoch, head, previous epoch, its head, the first offset of the log, the
-- offset up to which this answer tells all, then offset and record of each message.

local id, err = history(KEYS[1])
if err then return err end
local epoch, head, epoch0, offset0 = position(id, KEYS[2], KEYS[3], ARGV[1], ARGV[5])
extend(KEYS[2], ARGV[5])

local function offset_of(entry) return string.match(entry[1], '^%d+') end
local oldest = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)[1]
local first = oldest and offset_of(oldest) or string.format('%.0f', tonumber(head) + 1)

local page = {epoch, head, epoch0, offset0, first, ARGV[2]}
local limit, room, bytes, count = tonumber(ARGV[3]), tonumber(ARGV[4]), 0, 0
local from = '(' .. ARGV[2] .. '-0'
local want = 16
while count < limit do
  want = math.min(want, limit - count)
  local part = redis.call('XRANGE', KEYS[3], from, '+', 'COUNT', want)
  for _, entry in ipairs(part) do
    local record = entry[2][2]
    bytes = bytes + #record
    if bytes > room and count > 0 then
      return page
    end
    page[6] = offset_of(entry)
    page[#page + 1] = page[6]
    page[#page + 1] = record
    count = count + 1
    from = '(' .. entry[1]
  end
  if #part < want then
    page[6] = head
    return page
  end
  -- As many as the room that is left holds, by what they took so far.
  want = math.max(1, math.min(1000, math.floor((room - bytes) * count / bytes)))
end
return page
