-- One step of the counters (state/counters.py says what each is), whole or not at all.
-- All keys have one hash tag, so that a cluster keeps them on one node. Amounts are whole doubles below 2^53, and leave
-- as text: neither tostring nor cjson writes fifteen digits.
-- KEYS[1]: the sources. ARGV: the source, the step's name, and what it takes.

local P = string.sub(KEYS[1], 1, -8)
local source, op = ARGV[1], ARGV[2]
local call = redis.call

local function text(number)
    if number == 0 then return '0' end
    return string.format('%.0f', number)
end

local function holds_of(charge, expected, most)
    if charge[2] == 'money' then return math.min(expected, most), most end
    if charge[2] == 'tokens' then return charge[6], charge[6] end
    if charge[2] == 'parallel' then return 0, 0 end
    return nil
end

local function hold(charges, expected, most, sign)
    for _, charge in ipairs(charges) do
        local e, m = holds_of(charge, expected, most)
        if e then
            local key = P .. 'held:' .. charge[1]
            call('HINCRBY', key, 'e', text(sign * e))
            call('HINCRBY', key, 'm', text(sign * m))
            if call('HINCRBY', key, 'n', sign) == 0 then call('DEL', key) end
        end
    end
end

local function put(id, owner, raw, expected, most, expires)
    call('HSET', P .. 'hold:' .. id, 'o', owner, 's', source, 'l', '1', 'e', text(expected), 'm', text(most),
        'c', raw, 'x', expires)
    call('PERSIST', P .. 'hold:' .. id)
    call('ZADD', P .. 'expiry', expires, id)
    call('SADD', P .. 'of:' .. source, id)
    hold(cjson.decode(raw), expected, most, 1)
end

local function take(id)
    local row = call('HMGET', P .. 'hold:' .. id, 'l', 'e', 'm', 'c', 'o', 's', 'x')
    if not row[1] then return nil end
    if row[1] == '1' then hold(cjson.decode(row[4]), tonumber(row[2]), tonumber(row[3]), -1) end
    call('DEL', P .. 'hold:' .. id)
    call('ZREM', P .. 'expiry', id)
    call('SREM', P .. 'of:' .. row[6], id)
    return row
end

local function expire(now)
    for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'expiry', '-inf', now)) do
        local row = call('HMGET', P .. 'hold:' .. id, 'e', 'm', 'c', 's')
        if row[1] then
            hold(cjson.decode(row[3]), tonumber(row[1]), tonumber(row[2]), -1)
            call('HSET', P .. 'hold:' .. id, 'l', '0')
            call('EXPIRE', P .. 'hold:' .. id, 86400)
        end
        call('ZREM', P .. 'expiry', id)
    end
end

local function balances(charges)
    local out = {}
    for at, charge in ipairs(charges) do
        local spent, row = 0, false
        if charge[2] ~= 'parallel' then
            local fields = call('HGETALL', P .. 'spent:' .. charge[1])
            for i = 1, #fields, 2 do
                if tonumber(string.match(fields[i], '^-?%d+')) >= charge[4] then spent = spent + tonumber(fields[i + 1]) end
            end
        end
        if charge[2] ~= 'requests' then row = call('HMGET', P .. 'held:' .. charge[1], 'e', 'm', 'n') end
        out[at] = {spent, tonumber(row and row[1] or 0), tonumber(row and row[2] or 0), tonumber(row and row[3] or 0)}
    end
    return out
end

local function told(first, second, third, found)
    local out = {first, second, third}
    for _, row in ipairs(found) do
        for _, number in ipairs(row) do out[#out + 1] = text(number) end
    end
    return out
end

local function add(charge, amount)
    local key, field = P .. 'spent:' .. charge[1], text(charge[3]) .. '|' .. source
    if call('HINCRBY', key, field, text(amount)) == amount then
        for _, other in ipairs(call('HKEYS', key)) do
            if tonumber(string.match(other, '^-?%d+')) < charge[4] then call('HDEL', key, other) end
        end
    end
    if charge[2] ~= 'money' then call('EXPIRE', key, 3600) end
end

local function limit_of(charge)
    if charge[5] == cjson.null then return nil end
    return charge[5]
end

-- The same decision as `decide` in state/counters.py.
local function decide(charges, offers, found)
    for at, charge in ipairs(charges) do
        local limit = limit_of(charge)
        if charge[2] ~= 'money' and limit then
            local used = found[at][1] + found[at][3]
            if charge[2] == 'parallel' then used = found[at][4] end
            if used + charge[6] > limit then return nil, at end
        end
    end
    local worst = 1
    for number, offer in ipairs(offers) do
        local granted, fits = offer[2], true
        for at, charge in ipairs(charges) do
            local limit = limit_of(charge)
            if charge[2] == 'money' and limit then
                local kept = math.floor(limit * offer[4] / 1000)
                local spare = math.floor(limit * offer[5] / 1000)
                granted = math.min(granted, limit - spare - found[at][1] - found[at][3])
                if granted < offer[3] or found[at][1] + found[at][2] + offer[1] > limit - kept then
                    fits, worst = false, at
                    break
                end
            end
        end
        if fits then return number, granted end
    end
    return nil, worst
end

local function recount(amounts)
    call('SADD', KEYS[1], source)
    for _, account in ipairs(call('SMEMBERS', P .. 'accounts:' .. source)) do
        local key = P .. 'spent:' .. account
        for _, field in ipairs(call('HKEYS', key)) do
            if string.match(field, '|(.*)$') == source then call('HDEL', key, field) end
        end
    end
    call('DEL', P .. 'accounts:' .. source)
    for _, row in ipairs(amounts) do
        call('HSET', P .. 'spent:' .. row[1], text(row[2]) .. '|' .. source, text(row[3]))
        call('SADD', P .. 'accounts:' .. source, row[1])
    end
    return {'done'}
end

if op == 'recount' then return recount(cjson.decode(ARGV[3])) end
if call('SISMEMBER', KEYS[1], source) == 0 then return {'begun'} end

if op == 'reserve' then
    local id, owner, raw, offers = ARGV[3], ARGV[4], ARGV[5], cjson.decode(ARGV[6])
    local charges = cjson.decode(raw)
    expire(ARGV[7])
    local found = balances(charges)
    local number, at = decide(charges, offers, found)
    if not number then return told('short', text(at - 1), '0', found) end
    put(id, owner, raw, offers[number][1], at, ARGV[8])
    for _, charge in ipairs(charges) do
        if charge[2] == 'requests' then add(charge, charge[6]) end
    end
    return told('granted', text(number - 1), text(at), found)
elseif op == 'top_up' then
    local id, owner, raw, amount = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
    expire(ARGV[7])
    local row = take(id)
    local money = {}
    for _, charge in ipairs(cjson.decode(raw)) do
        if charge[2] == 'money' then money[#money + 1] = charge end
    end
    local found = balances(money)
    local number, at = decide(money, {{amount, amount, amount, 0, 0}}, found)
    if number then
        put(id, owner, raw, amount, amount, ARGV[8])
        return told('granted', '0', text(at), found)
    end
    if row then put(id, row[5], row[4], tonumber(row[2]), tonumber(row[3]), row[7]) end
    return told('short', text(at - 1), '0', found)
elseif op == 'settle' then
    local row = take(ARGV[3])
    if not row and ARGV[7] ~= '1' then return {'0'} end
    for _, charge in ipairs(cjson.decode(ARGV[4])) do
        local amount = 0
        if charge[2] == 'money' then amount = tonumber(ARGV[5]) end
        if charge[2] == 'tokens' then amount = tonumber(ARGV[6]) end
        if amount ~= 0 then
            add(charge, amount)
            if charge[2] == 'money' then call('SADD', P .. 'accounts:' .. source, charge[1]) end
        end
    end
    return {'1'}
elseif op == 'renew' then
    expire(ARGV[3])
    for at = 5, #ARGV, 5 do
        local id = ARGV[at]
        if call('HGET', P .. 'hold:' .. id, 'l') == '1' then
            call('HSET', P .. 'hold:' .. id, 'x', ARGV[4])
            call('ZADD', P .. 'expiry', ARGV[4], id)
        else
            take(id)
            put(id, ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), ARGV[4])
        end
    end
    return {'done'}
elseif op == 'look' then
    expire(ARGV[4])
    return told('balances', '0', '0', balances(cjson.decode(ARGV[3])))
elseif op == 'booked' then
    local out = {'booked'}
    for _, account in ipairs(call('SMEMBERS', P .. 'accounts:' .. source)) do
        local fields = call('HGETALL', P .. 'spent:' .. account)
        for i = 1, #fields, 2 do
            local bucket, of = string.match(fields[i], '^(-?%d+)|(.*)$')
            if of == source then
                out[#out + 1] = account
                out[#out + 1] = bucket
                out[#out + 1] = fields[i + 1]
            end
        end
    end
    return out
elseif op == 'holds' then
    local out = {'holds'}
    for _, id in ipairs(call('SMEMBERS', P .. 'of:' .. source)) do
        local row = call('HMGET', P .. 'hold:' .. id, 'o', 'c', 'e', 'm')
        if row[1] then
            out[#out + 1] = id
            for _, value in ipairs(row) do out[#out + 1] = value end
        else
            call('SREM', P .. 'of:' .. source, id)
        end
    end
    return out
elseif op == 'once' then
    if call('SET', P .. 'once:' .. ARGV[3], '1', 'NX', 'PX', ARGV[4]) then return {'1'} end
    return {'0'}
end
return redis.error_reply('unknown step ' .. op)
