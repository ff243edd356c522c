return {
  suspend = {
    iconClass = "fa fa-fw fa-pause",
    displayName = "Stop the runtime",
    disabled = obj.spec.suspend == true,
  },
  resume = {
    iconClass = "fa fa-fw fa-play",
    displayName = "Start the runtime",
    disabled = obj.spec.suspend ~= true,
  },
}
