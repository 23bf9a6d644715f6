package intent

import (
	"maps"
	"slices"
	"strings"
)

// known is what is known of an intent: its slots in the order in which the model writes them, the domain of the entities that it is for where it is for
// one only, and the domains that its slot "domain" may have.
type known struct {
	slots  []string
	domain string
	kinds  string
	isTime bool
}

func (k *known) timer() bool { return k.isTime }

// Domains that can be turned on and off, and those whose state can be asked for.
const (
	onOffKinds = "cover fan light lock scene script switch valve"
	stateKinds = onOffKinds + " binary_sensor person sensor"
)

// intents are those of the task home. They are Home Assistant's (home-assistant/intents, CC BY 4.0), and those of the task assist (SNIPS), which the model
// writes now and then where home was asked for, and which are refused.
var intents = func() map[string]*known {
	m := map[string]*known{}
	for line := range strings.Lines(`
HassBroadcast - message
HassCancelAllTimers - area
HassCancelTimer - area name start_hours start_minutes start_seconds
HassClimateGetTemperature climate area name
HassClimateSetTemperature climate area floor name temperature
HassDecreaseTimer - area hours minutes name seconds start_hours start_minutes start_seconds
HassGetCurrentDate -
HassGetCurrentTime -
HassGetState - area device_class domain floor name state
HassGetWeather weather name
HassIncreaseTimer - area hours minutes name seconds start_hours start_minutes start_seconds
HassLightSet light area brightness color floor name
HassListAddItem todo item name
HassListCompleteItem todo item name
HassMediaNext media_player area name
HassMediaPause media_player area name
HassMediaPrevious media_player area name
HassMediaSearchAndPlay media_player area media_class name search_query
HassMediaUnpause media_player area name
HassNevermind -
HassPauseTimer - area name start_hours start_minutes start_seconds
HassRespond -
HassSetPosition - area device_class domain name position
HassSetVolume media_player area name volume_level
HassShoppingListAddItem - item
HassShoppingListCompleteItem - item
HassStartTimer - conversation_command hours minutes name seconds
HassTimerStatus - area name start_hours start_minutes start_seconds
HassTurnOff - area device_class domain floor name
HassTurnOn - area device_class domain floor name
HassUnpauseTimer - area name start_hours start_minutes start_seconds
HassVacuumReturnToBase vacuum name
HassVacuumStart vacuum floor name
AddToPlaylist -
BookRestaurant -
GetWeather -
PlayMusic -
RateBook -
SearchCreativeWork -
SearchScreeningEvent -
`) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		k := &known{slots: f[2:], isTime: strings.Contains(f[0], "Timer")}
		if f[1] != "-" {
			k.domain = f[1]
		}
		switch f[0] {
		case "HassTurnOn", "HassTurnOff":
			k.kinds = onOffKinds
		case "HassGetState":
			k.kinds = stateKinds
		case "HassSetPosition":
			k.kinds = "cover valve"
		}
		m[f[0]] = k
	}
	return m
}()

// intentNames are in order.
var intentNames = slices.Sorted(maps.Keys(intents))

// number is what a number may be.
type number struct {
	most   int32
	tenths bool
}

var numbers = map[string]number{
	"brightness": {100, false}, "position": {100, false}, "volume_level": {100, false}, "temperature": {150, true},
	"hours": {999, false}, "minutes": {9999, false}, "seconds": {9999, false},
	"start_hours": {999, false}, "start_minutes": {9999, false}, "start_seconds": {9999, false},
}

// coverClasses are the kinds of covers.
const coverClasses = "awning blind curtain damper door garage gate shade shutter window"

// values are those of slots that are the same in every home.
var values = map[string][]string{
	"state":       strings.Fields("on off open closed opening closing locked unlocked home"),
	"media_class": strings.Fields("album artist movie playlist podcast track tv_show"),
	"color":       strings.Fields("black blue brown green orange pink purple red turquoise white yellow"),
	"device_class": strings.Fields(coverClasses + ` apparent_power aqi atmospheric_pressure battery battery_charging carbon_dioxide carbon_monoxide cold
		connectivity current data_rate data_size date distance duration energy energy_storage frequency garage_door gas heat humidity illuminance
		irradiance light lock moisture monetary motion nitrogen_dioxide nitrogen_monoxide nitrous_oxide occupancy opening ozone plug pm1 pm10 pm25 power
		power_factor precipitation precipitation_intensity presence pressure problem reactive_power running safety signal_strength smoke sound
		sound_pressure speed sulphur_dioxide tamper temperature update vibration volatile_organic_compounds volatile_organic_compounds_parts voltage
		volume volume_storage water weight wind_speed`),
}
