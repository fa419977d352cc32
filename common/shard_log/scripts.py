"""The atomic operations on a log: Lua scripts that the server runs.

Their keys are the log and the hash that says how far it is trimmed (`Keys.trimmed`).
"""

_IS_BEFORE = """
local function is_before(a, b)
    local a_ms, a_number = string.match(a, '^(%d+)%-(%d+)$')
    local b_ms, b_number = string.match(b, '^(%d+)%-(%d+)$')
    if not a_ms or not b_ms then return false end
    if a_ms ~= b_ms then return tonumber(a_ms) < tonumber(b_ms) end
    return tonumber(a_number) < tonumber(b_number)
end
"""

# Remove entries, unless a replica that knew of a newer snapshot has removed more, and count those
# that all have applied and that stay for the next snapshot. A replica that does not know the newest
# positions of the others counts too few; then the stored count stays, minus the removed entries.
TRIM = (
    _IS_BEFORE
    + """
local known = redis.call('HMGET', KEYS[1], 'position', 'kept', 'kept_to')
if known[1] and is_before(ARGV[1], known[1]) then return 0 end
redis.call('HSET', KEYS[1], 'position', ARGV[1])
if ARGV[3] == '1' then redis.call('HSET', KEYS[1], 'documents', 1) end
local removed = redis.call('XTRIM', KEYS[2], 'MINID', ARGV[2])
if ARGV[4] ~= '' then
    local kept, kept_to = tonumber(ARGV[4]), ARGV[5]
    if known[3] and is_before(kept_to, known[3]) then
        kept, kept_to = math.max(0, tonumber(known[2] or 0) - removed), known[3]
    end
    redis.call('HSET', KEYS[1], 'kept', kept, 'kept_to', kept_to)
else
    redis.call('HDEL', KEYS[1], 'kept', 'kept_to')
end
return removed
"""
)

# Only the ids of the entries between two positions: their bodies need not leave the server.
IDS = """
local ids = {}
for i, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])) do
    ids[i] = entry[1]
end
return ids
"""

# Append entries again that the log lacks, under the ids that they had, as far as no later entry is
# there. Entries that were trimmed since are not lacking. Returns how many are lost, and then the
# numbers of those that were appended, from 1.
RESTORE = (
    _IS_BEFORE
    + """
local trimmed = redis.call('HGET', KEYS[2], 'position')
local about = redis.call('EXISTS', KEYS[1]) == 1 and redis.call('XINFO', 'STREAM', KEYS[1]) or {}
local newest = '0-0'
for i = 1, #about, 2 do if about[i] == 'last-generated-id' then newest = about[i + 1] end end
local done = {0}
for i = 2, #ARGV, 2 do
    local id, op = ARGV[i], ARGV[i + 1]
    if not trimmed or is_before(trimmed, id) then
        local found = redis.call('XRANGE', KEYS[1], id, id)[1]
        if not found and is_before(newest, id) then
            redis.call('XADD', KEYS[1], id, ARGV[1], op)
            newest = id
            done[#done + 1] = i / 2
        elseif not found or found[2][2] ~= op then
            done[1] = done[1] + 1
        end
    end
end
return done
"""
)

# Make a log continue after a replica's position. If it has lost the entries before (they are then
# neither in the log nor recorded as trimmed), these count as trimmed: replicas that have applied
# less cannot get them. An entry that is added and removed again leaves its id; ids only grow.
CONTINUE = (
    _IS_BEFORE
    + """
local trimmed = redis.call('HGET', KEYS[2], 'position')
if (not trimmed or is_before(trimmed, ARGV[1]))
        and #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then
    redis.call('HSET', KEYS[2], 'position', ARGV[1], 'documents', 1)
end
local about = redis.call('EXISTS', KEYS[1]) == 1 and redis.call('XINFO', 'STREAM', KEYS[1]) or {}
local newest = '0-0'
for i = 1, #about, 2 do if about[i] == 'last-generated-id' then newest = about[i + 1] end end
-- Append only if needed: a server without room refuses appends.
if not is_before(newest, ARGV[1]) then return 0 end
redis.call('XDEL', KEYS[1], redis.call('XADD', KEYS[1], ARGV[1], ARGV[2], ''))
return 1
"""
)
