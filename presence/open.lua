-- Leaves a trace of an incarnation in a partition.  ARGV … turn
local no = refused(ARGV[5], true)
if no then return no end
return 1
