// Who may call the app's HTTP functions, which ask for no key.
@description('Required. The app.')
param appName string

@description('Required. The configuration the app has, which this one replaces.')
param siteConfig object

@description('Required. Address ranges (CIDR) that may.')
param allowedAddresses string[]

@description('Required. Addresses the app itself may come from: start_replay_lab and replay_status call the app\'s own webhook.')
param outboundAddresses string[]

var ranges = concat(allowedAddresses, map(outboundAddresses, it => '${it}/32'))
var restrictions = [
  for (range, index) in ranges: {
    name: 'allowed-${index}'
    ipAddress: range
    action: 'Allow'
    priority: 100 + index
  }
]

resource app 'Microsoft.Web/sites@2025-03-01' existing = {
  name: appName
}

resource web 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: app
  name: 'web'
  properties: union(siteConfig, {
    ipSecurityRestrictionsDefaultAction: 'Deny'
    ipSecurityRestrictions: restrictions
  })
}
