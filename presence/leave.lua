-- Takes users of an incarnation out.  ARGV … turn, user …
local no = refused(ARGV[5])
if no then return no end
local gone = {}
for i = 6, #ARGV do
  if redis.call('SREM', mine, ARGV[i]) == 1 then gone[#gone + 1] = ARGV[i] end
end
publish(depart(gone))
return 1
