-- Brings users of an incarnation in.  ARGV … turn, user …
local no = refused(ARGV[5])
if no then return no end
local names = {}
for i = 6, #ARGV do
  if redis.call('SADD', mine, ARGV[i]) == 1 and redis.call('HINCRBY', online, ARGV[i], 1) == 1 then
    names[#names + 1] = ' +' .. ARGV[i]
  end
end
publish(names)
return 1
