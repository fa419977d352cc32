"""The scripts of `common.state.registry`, which Redis runs atomically."""

TOO_MANY = -1  # what `CHANGE` returns if there are as many collections as allowed

# Change a collection if it is still as it was read (empty: absent), and log the operation to every
# shard in the same step, so that definition and logs can never disagree. The logs come first: if
# the server refuses to append, nothing is done. The keys after those of the logs are removed: they
# belong to a collection that is dropped. It returns 1 if the change was made, 0 if not, and -1 if
# there are as many collections as allowed (limit 0: any number).
CHANGE = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
local limit = tonumber(ARGV[7])
if ARGV[2] == '' and limit > 0 and redis.call('HLEN', KEYS[1]) >= limit then return -1 end
local num_logs = tonumber(ARGV[6])
for i = 2, 1 + num_logs do redis.call('XADD', KEYS[i], '*', ARGV[4], ARGV[5]) end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1])
else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
for i = 2 + num_logs, #KEYS do redis.call('DEL', KEYS[i]) end
return 1
"""

# Remove a heartbeat if it is one of those given.
FORGET = """
local stored = redis.call('HGET', KEYS[1], ARGV[1])
for i = 2, #ARGV do
    if stored == ARGV[i] then return redis.call('HDEL', KEYS[1], ARGV[1]) end
end
return 0
"""
