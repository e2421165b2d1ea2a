-- Tells the positions of many topics of one partition, and begins those that have none.
--
-- KEYS  1 the history's cache, then for each topic its position and its log
-- ARGV  1 the epoch of those that begin, then for each topic the life of its position, s
-- Returns epoch and head of each topic.

local id, err = history(KEYS[1])
if err then return err end
local found = {}
for i = 2, #ARGV do
  local epoch, head = position(id, KEYS[2 * i - 2], KEYS[2 * i - 1], ARGV[1], ARGV[i])
  extend(KEYS[2 * i - 2], ARGV[i])
  found[#found + 1] = epoch
  found[#found + 1] = head
end
return found
