local rollout = (obj.status or {}).rollout or {}
local underWay = rollout.phase == "Load" or rollout.phase == "HealthCheck" or rollout.phase == "Shift"
local takenBack = rollout.phase == "Restore" or rollout.phase == "Restored"

-- What serves until the rollout ends, else the newest other version that ever served.
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

local version = former()
local rollback = { iconClass = "fa fa-fw fa-undo", displayName = "Roll back", disabled = version == nil }
if version then
  rollback.params = { { name = "version", default = version } }
end

return {
  rollback = rollback,
  retry = {
    iconClass = "fa fa-fw fa-redo",
    displayName = "Try the failed version again",
    disabled = not takenBack,
  },
  approve = {
    iconClass = "fa fa-fw fa-check",
    displayName = "Approve the step",
    disabled = not rollout.waitsForApproval or rollout.failure ~= nil,
  },
  suspend = {
    iconClass = "fa fa-fw fa-pause",
    displayName = "Hold rollouts",
    disabled = obj.spec.suspend == true,
  },
  resume = {
    iconClass = "fa fa-fw fa-play",
    displayName = "Let rollouts go on",
    disabled = obj.spec.suspend ~= true,
  },
}
