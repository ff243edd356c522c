-- Without a parameter: what serves until the rollout ends, else the newest other version that
-- ever served. Git is left alone: the annotation holds until the spec names another version.
local rollout = (obj.status or {}).rollout or {}
local underWay = rollout.phase == "Load" or rollout.phase == "HealthCheck" or rollout.phase == "Shift"

local function former()
  if underWay then
    return rollout.origin and rollout.origin.version
  end
  for _, revision in ipairs((obj.status or {}).history or {}) do
    local served = revision.outcome == "Succeeded" or revision.outcome == "Superseded"
    if served and revision.version ~= obj.status.version then
      return revision.version
    end
  end
  return nil
end

local version = (actionParams or {}).version or former()
if not version then
  error("There is no former version to go back to.")
end
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["bulkhead.dev/rollback-to"] = version
return obj
