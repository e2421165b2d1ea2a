-- Empties a topic's log. Offsets go on; the next publish sees to the new log's life.
--
-- KEYS  1 the topic's position  2 its log

redis.call('UNLINK', KEYS[2])
return redis.call('HDEL', KEYS[1], 'extended')
