-- Takes out users of an incarnation that is dead; returns how many it has still.  ARGV … at most
redis.call('SET', fence, 'dead', 'EX', day)
publish(depart(redis.call('SPOP', mine, ARGV[5])))
return redis.call('SCARD', mine)
